// See bench/nccl.h.
#include "bench/nccl.h"

#include <dlfcn.h>

#include <cstdlib>

namespace weft::bench {

std::shared_ptr<const Nccl> Nccl::open(const std::string& path) {
  if (setenv("NCCL_NVLS_ENABLE", "0", 1) != 0) {
    fail(ErrorCode::kDevice, "NCCL is not measured: NCCL_NVLS_ENABLE=0 could not be set");
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    fail(ErrorCode::kDevice,
         "NCCL could not be opened: %s; give its libnccl.so.2 with --nccl or WEFT_NCCL", dlerror());
  }
  auto nccl = std::make_shared<Nccl>();
  nccl->path = path;
  const auto find = [&](auto& function, const char* name, bool needed) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    if (function != nullptr || !needed) return;
    dlclose(library);
    fail(ErrorCode::kDevice, "%s is no NCCL that can be measured: it has no %s", path.c_str(),
         name);
  };
  find(nccl->get_version, "ncclGetVersion", true);
  find(nccl->get_error_string, "ncclGetErrorString", true);
  find(nccl->comm_init_all, "ncclCommInitAll", true);
  find(nccl->comm_abort, "ncclCommAbort", true);
  find(nccl->comm_destroy, "ncclCommDestroy", true);
  find(nccl->group_start, "ncclGroupStart", true);
  find(nccl->group_end, "ncclGroupEnd", true);
  find(nccl->all_reduce, "ncclAllReduce", true);
  find(nccl->reduce_scatter, "ncclReduceScatter", true);
  find(nccl->all_gather, "ncclAllGather", true);
  find(nccl->mem_alloc, "ncclMemAlloc", false);
  find(nccl->mem_free, "ncclMemFree", false);
  find(nccl->comm_register, "ncclCommRegister", false);
  find(nccl->window_register, "ncclCommWindowRegister", false);
  find(nccl->get_last_error, "ncclGetLastError", false);
  nccl->check(nccl->get_version(&nccl->version), "ncclGetVersion");
  return nccl;
}

void Nccl::check(int result, const char* what) const {
  if (result == 0) return;
  const char* last = get_last_error != nullptr ? get_last_error(nullptr) : nullptr;
  fail(ErrorCode::kDevice, "NCCL's %s failed: %s%s%s (NCCL_DEBUG=WARN tells more)", what,
       get_error_string(result), last != nullptr && *last != 0 ? ": " : "",
       last != nullptr ? last : "");
}

int nccl_dtype(DType dtype) {
  switch (dtype) {
    case DType::kU8:
      return 1;
    case DType::kI32:
      return 2;
    case DType::kI64:
      return 4;
    case DType::kF16:
      return 6;
    case DType::kF32:
      return 7;
    case DType::kF64:
      return 8;
    case DType::kBF16:
      return 9;
    default:
      fail(ErrorCode::kDtype, "NCCL cannot reduce %s", dtype_name(dtype));
  }
}

}  // namespace weft::bench
