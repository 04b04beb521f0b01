"""The command `serve`, whose flags are the settings of the service."""

from typing import Any

from typer.core import TyperCommand


class ServeCommand(TyperCommand):
    """The command `serve`. It gets its flags, one for each setting, when it runs."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Return the context of the command with its flags."""
        from app.flags import serve_command

        return serve_command(self.help).make_context(info_name, args, parent=parent, **extra)


def serve() -> None:
    """Run the service.

    Every flag is also an environment variable: --max-body-bytes is OPTIM_MAX_BODY_BYTES. A flag wins. Other users of
    this machine can read a flag: put a password of the store into OPTIM_STORE.
    """
