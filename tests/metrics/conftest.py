from tests.service.conftest import client, logs

__all__ = ["client", "logs"]
