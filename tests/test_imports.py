"""Every module can be the first that is imported, and the heavy libraries wait until they are needed."""

import subprocess
import sys

EACH_ALONE = """
import importlib, pkgutil, sys
import drp_ray
for module in list(pkgutil.walk_packages(drp_ray.__path__, "drp_ray.")):
    if module.name == "drp_ray.__main__":
        continue
    for name in [name for name in sys.modules if name.split(".")[0] == "drp_ray"]:
        del sys.modules[name]
    importlib.import_module(module.name)
    heavy = {"torch", "vllm", "transformers", "sentence_transformers"} & set(sys.modules)
    assert not heavy, f"{module.name} imports {heavy}"
"""


def test_every_module_can_be_imported_first_and_none_imports_torch_or_vllm():
    done = subprocess.run([sys.executable, "-c", EACH_ALONE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
