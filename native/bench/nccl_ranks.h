// NCCL over the devices of a group, all ranks from one thread inside ncclGroupStart and ncclGroupEnd:
// its communicators, and its three kinds of buffers. reduce_bench.cc owns one.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/nccl.h"
#include "fabric/group.h"

namespace weft::bench {

enum class NcclMode { kPlain, kRegistered, kSymmetric };
const char* nccl_mode_name(NcclMode mode);

/// Buffers that NCCL allocated and knows: one input and one output a rank.
struct NcclBuffers {
  std::vector<void*> in, out;
};

class NcclRanks {
 public:
  /// Throws DeviceError when NCCL cannot be had on these devices, or does not come up in time.
  NcclRanks(std::shared_ptr<const Nccl> nccl, std::vector<Device*> devices);
  ~NcclRanks();
  NcclRanks(const NcclRanks&) = delete;
  NcclRanks& operator=(const NcclRanks&) = delete;

  const Nccl& nccl() const { return *nccl_; }
  /// Empty when this version has the mode; else why not.
  std::string missing(NcclMode mode) const;
  /// Memory from ncclMemAlloc, registered with ncclCommRegister or as symmetric windows.
  const NcclBuffers& buffers(NcclMode mode, size_t bytes);
  /// Enqueues an all-reduce, reduce-scatter (sums) or all-gather of all ranks, each on its stream;
  /// `count` as of fabric::CollectiveArgs.
  void start(fabric::CollectiveKind kind, std::span<void* const> in, std::span<void* const> out,
             size_t count, DType dtype, std::span<Stream* const> streams);

 private:
  void allocate(std::vector<void*>& list, size_t bytes);

  std::shared_ptr<const Nccl> nccl_;
  std::vector<Device*> devices_;
  std::vector<NcclComm> comms_;
  std::vector<void*> allocated_;
  NcclBuffers of_mode_[3];
  size_t bytes_[3] = {};
};

}  // namespace weft::bench
