"""A stand-in for `curl`, as far as the documents use it: it sends the same requests by HTTPX."""

import argparse
import sys

import httpx2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    for flag in ("-s", "-S", "-f"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data")
    given = parser.parse_args()
    method = given.method or ("GET" if given.data is None else "POST")
    headers = dict(header.split(": ", 1) for header in given.headers)
    answer = httpx2.request(method, given.url, headers=headers, content=given.data)
    if given.f:
        answer.raise_for_status()
    sys.stdout.write(answer.text)


if __name__ == "__main__":
    main()
