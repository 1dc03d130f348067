"""Downloads into a local folder: continued after an interruption, checked against a SHA-256, cached."""

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sklearn.utils import Bunch

from .._optional import import_optional
from .._sklearn import StrOptions

FETCH_CONSTRAINTS = {
    "data_home": [str, os.PathLike, None],
    "subset": [StrOptions({"all", "train", "test"})],
    "download_if_missing": ["boolean"],
    "return_X_y": ["boolean"],
    "verbose": ["boolean"],
}
_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 2**16


@dataclass(frozen=True)
class RemoteFile:
    """A file, its address and the checksum of the content that was published there.

    The checksum is what makes a plain http address safe to use.
    """

    name: str
    url: str
    sha256: str


def subset_parts(subset):
    """Name the published parts that a subset consists of, in their order in the result."""
    return ("train", "test") if subset == "all" else (subset,)


def as_dataset(images, target, *, target_names, description, return_X_y, caller):
    """Return images and labels in one of scikit-learn's two forms."""
    if target.max() >= len(target_names):
        raise ValueError(
            f"{caller}: the file of labels holds {target.max()}, the highest label is "
            f"{len(target_names) - 1}; delete it and call again."
        )
    if return_X_y:
        return images, target
    return Bunch(images=images, target=target, target_names=list(target_names), DESCR=description)


def data_folder(data_home, dataset):
    """Return the folder of a dataset: below `data_home`, else ``$SKHASH_DATA``, else ``~/.cache/skhash``."""
    if data_home is None:
        data_home = os.environ.get("SKHASH_DATA") or Path("~") / ".cache" / "skhash"
    return Path(data_home).expanduser() / dataset


def fetch_file(remote, folder, *, caller, download_if_missing, verbose):
    """Return the path of a file in `folder`, downloaded if it is not there.

    Parameters
    ----------
    remote : RemoteFile
        What to fetch.

    folder : Path
        Where the file lies or will lie, under ``remote.name``.

    caller : str
        Public function to name in the errors.

    download_if_missing : bool
        Whether a missing file is downloaded; otherwise it is an error.

    verbose : bool
        Whether a download shows a progress bar.

    Returns
    -------
    path : Path
        The file; its checksum has been compared.

    Raises
    ------
    OSError
        If the file is missing and may not be or could not be downloaded, or if its checksum is wrong.
    """
    path = folder / remote.name
    if path.exists():
        _check_cached_file(path, remote, caller)
    elif download_if_missing:
        _download(remote, path, caller=caller, verbose=verbose)
    else:
        raise OSError(
            f"{caller}: {path} does not exist and download_if_missing=False; "
            f"set it to True, or put the file of {remote.url} there."
        )
    return path


def _check_cached_file(path, remote, caller):
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != remote.sha256:
        raise OSError(
            f"{caller}: {path} has SHA-256 {found}, expected {remote.sha256}; "
            f"delete the file and call again to download {remote.url}."
        )


def _download(remote, path, *, caller, verbose):
    pooch, requests, tqdm, urllib3 = (
        import_optional(module, extra="datasets", feature=caller) for module in ("pooch", "requests", "tqdm", "urllib3")
    )
    try:
        with requests.Session() as session:
            pooch.retrieve(
                remote.url,
                known_hash=f"sha256:{remote.sha256}",
                fname=path.name,
                path=path.parent,
                downloader=ResumingDownloader(
                    path.with_name(f"{path.name}.part"), session, partial(tqdm.tqdm, disable=not verbose)
                ),
            )
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        reason = " ".join(str(error).split())
        raise OSError(
            f"{caller}: could not download {remote.url} ({reason}); call again to continue, "
            f"or get the file by other means and put it at {path}."
        ) from error
    except ValueError as error:  # how pooch reports a wrong checksum, after it has removed the file
        raise OSError(
            f"{caller}: what {remote.url} sent does not have SHA-256 {remote.sha256} and was removed; "
            f"call again, or get the file by other means and put it at {path}."
        ) from error


class ResumingDownloader:
    """Downloader for pooch that continues where an interrupted transfer stopped.

    What has been received lies in `part_file`, which outlives a broken connection. The next call asks the
    server for the rest of it by a Range request; where the server does not answer with exactly that rest, the
    download starts over. The finished file is moved to where pooch checks it, so that a wrong one is never
    continued. Two processes that download the same file at once spoil each other's part; the checksum tells.

    Parameters
    ----------
    part_file : Path
        Where the bytes received so far lie.

    session : requests.Session
        What sends the requests.

    progress_bar : callable
        Makes a progress bar, with the parameters of :class:`tqdm.tqdm`.
    """

    def __init__(self, part_file, session, progress_bar):
        self.part_file = part_file
        self.session = session
        self.progress_bar = progress_bar

    def __call__(self, url, output_file, pooch):
        response, offset = self._open(url)
        with response:
            response.raise_for_status()
            self._receive(response, offset)
        os.replace(self.part_file, output_file)

    def _open(self, url):
        """Ask for the bytes that are missing, or for all of them; return the response and where it starts."""
        offset = self.part_file.stat().st_size if self.part_file.exists() else 0
        if offset:
            response = self._get(url, {"Range": f"bytes={offset}-"})
            if _continues_at(response, offset):
                return response, offset
            response.close()
        return self._get(url, {}), 0

    def _get(self, url, headers):
        headers = {"Accept-Encoding": "identity", **headers}
        return self.session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS)

    def _receive(self, response, offset):
        length = response.headers.get("Content-Length")
        total = int(length) + offset if length else None
        progress = self.progress_bar(total=total, initial=offset, unit="B", unit_scale=True, desc=self.part_file.stem)
        with progress, self.part_file.open("ab" if offset else "wb") as file:
            # Raw: some servers label a .gz file as compressed in transfer, and requests would unpack it.
            for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                file.write(chunk)
                progress.update(len(chunk))


def _continues_at(response, offset):
    content_range = response.headers.get("Content-Range", "")
    return response.status_code == 206 and content_range.startswith(f"bytes {offset}-")
