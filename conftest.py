"""Leave out the doctests of modules and pages whose optional packages are not installed."""

from importlib.util import find_spec

collect_ignore_glob = []
if find_spec("torch") is None:
    collect_ignore_glob += ["skhash/features/_cnn*.py", "README.md"]
if find_spec("torch") is None or find_spec("matplotlib") is None:
    collect_ignore_glob += ["docs/*", "docs/user_guide/*"]
if find_spec("PIL") is None:
    collect_ignore_glob += ["skhash/features/*.py"]
if find_spec("matplotlib") is None:
    collect_ignore_glob += ["skhash/inspection/*.py"]
