#!/usr/bin/env bash
# Prints the folders of cuBLAS where it is only a Python wheel's, as XP_CUDA_LIB_DIRS wants them.
command -v python3 >/dev/null || exit 0
python3 - <<'PYTHON'
import glob, site, sys
folders = site.getsitepackages() + [p for p in sys.path if p.endswith("-packages")]
found = {g.rsplit("/", 1)[0] for f in folders for g in glob.glob(f + "/nvidia/*/lib/libcublas.so.1[23]")}
print(":".join(sorted(found)))
PYTHON
