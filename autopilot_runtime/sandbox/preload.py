"""The standard modules a worker has in memory before its walls go up: afterwards there is nothing to import from.

Runs in the worker; the standard library only.
"""

from __future__ import annotations

import contextlib
import importlib

_MODULES = """
abc array ast asyncio base64 binascii bisect calendar cmath cmd code codecs collections collections.abc colorsys
concurrent.futures concurrent.futures.thread configparser contextlib contextvars copy copyreg csv dataclasses
datetime decimal difflib dis email.message email.parser email.policy email.utils enum errno fnmatch fractions
functools graphlib hashlib heapq hmac html html.entities html.parser inspect io itertools json keyword linecache
locale logging math mimetypes numbers operator os.path pathlib pickle pickletools platform pprint queue random
re reprlib sched secrets selectors shlex signal sqlite3 stat statistics string stringprep struct symtable
textwrap threading time timeit token tokenize tomllib traceback types typing unicodedata unittest unittest.mock
urllib.parse uuid warnings weakref xml.dom.minidom xml.etree.ElementTree zlib bz2 lzma gzip zoneinfo _strptime
ipaddress getpass gettext argparse optparse importlib.metadata encodings.idna encodings.punycode
encodings.utf_16 encodings.utf_16_le encodings.utf_16_be encodings.utf_32 encodings.utf_32_le
encodings.utf_32_be encodings.utf_8_sig encodings.latin_1 encodings.ascii encodings.cp1252 encodings.cp437
encodings.iso8859_15 encodings.hex_codec encodings.base64_codec encodings.rot_13 encodings.unicode_escape
encodings.raw_unicode_escape encodings.zlib_codec encodings.quopri_codec quopri
"""


def preload() -> None:
    """Import what blocks use; what this Python was built without is left out."""
    for name in _MODULES.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
