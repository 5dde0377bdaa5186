from edgevision import tvm_without_torch as tvm_without_torch  # before any module here imports TVM
