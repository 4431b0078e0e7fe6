// NCCL as a stranger at run time: the dozen functions that the benchmarks call, found in a library
// that is opened by path. weft never links it nor needs it. bench/nccl_ranks.cc makes communicators
// and buffers of it; reduce_bench.cc times it beside weft.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "core/tensor.h"

namespace weft::bench {

using NcclComm = void*;
using NcclWindow = void*;

/// NCCL's functions. The last five are null where the version has none.
struct Nccl {
  /// Opens the library at `path` (or by name, as dlopen finds it) with multicast off: NCCL reads
  /// NCCL_NVLS_ENABLE when it starts, and this sets it to 0. Throws DeviceError saying what is
  /// missing. The library stays open.
  static std::shared_ptr<const Nccl> open(const std::string& path);

  std::string path;
  int version = 0;  ///< 22803 is 2.28.3

  int (*get_version)(int*) = nullptr;
  const char* (*get_error_string)(int) = nullptr;
  int (*comm_init_all)(NcclComm*, int, const int*) = nullptr;
  int (*comm_abort)(NcclComm) = nullptr;
  int (*comm_destroy)(NcclComm) = nullptr;
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;
  int (*all_reduce)(const void*, void*, size_t, int, int, NcclComm, void*) = nullptr;
  int (*reduce_scatter)(const void*, void*, size_t, int, int, NcclComm, void*) = nullptr;
  int (*all_gather)(const void*, void*, size_t, int, NcclComm, void*) = nullptr;
  int (*mem_alloc)(void**, size_t) = nullptr;
  int (*mem_free)(void*) = nullptr;
  int (*comm_register)(NcclComm, void*, size_t, void**) = nullptr;
  int (*window_register)(NcclComm, void*, size_t, NcclWindow*, int) = nullptr;
  const char* (*get_last_error)(NcclComm) = nullptr;

  /// Throws DeviceError("NCCL <what>: ...") unless `result` is ncclSuccess.
  void check(int result, const char* what) const;
};

/// NCCL's number of a dtype. Throws DtypeError when it has none.
int nccl_dtype(DType dtype);

}  // namespace weft::bench
