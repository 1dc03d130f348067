"""Keep pytest to the pages: what a build of the documentation writes is not tested, and its settings are no module."""

collect_ignore_glob = ["_build/*", "auto_examples/*", "generated/*", "conf.py"]
