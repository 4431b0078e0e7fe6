// What a plugin sees of a group and of a call: the structs of the C ABI and, behind them, what the
// host's functions need when a plugin hands them back. session.cc makes them.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "collective/scratch.h"
#include "collective/workspace.h"
#include "fabric/algorithm.h"
#include "fabric/allocator.h"
#include "fabric/plugin_abi.h"

namespace fabric::plugin {

/// A group as its algorithm sees it, with the memory that it keeps.
struct GroupView : WeftGroup {
  explicit GroupView(const GroupMembers& group);
  ~GroupView();
  GroupView(const GroupView&) = delete;
  GroupView& operator=(const GroupView&) = delete;

  std::vector<Device*> devices;
  std::vector<Stream*> comms;  ///< by rank
  std::vector<std::unique_ptr<Workspace>> workspaces;
  WeftControl* control(size_t rank) const { return records_ + rank; }

  /// The latest call on its callers' streams: work there runs until these have passed.
  void set_joined(std::vector<std::shared_ptr<Event>> done);
  /// Nothing of the group runs. A captured stream cannot be asked, and may hold earlier work: it does not
  /// count as idle.
  bool idle() const;

 private:
  mutable std::mutex mutex_;  // guards joined_
  std::vector<std::shared_ptr<Event>> joined_;

  std::vector<WeftMember> member_;
  std::vector<const WeftMember*> pointers_;
  std::vector<uint8_t> reaches_;
  StagingBuffer pinned_;
  WeftControl* records_ = nullptr;  // by rank, in pinned_
};

/// A call's shape; `buffers` stays nullptr.
WeftCall shape_of(const CallShape& shape);

/// A call that is prepared and launched.
struct CallView : WeftCall {
  CallView(const CollectiveCall& call);
  CallView(const CallView&) = delete;
  CallView& operator=(const CallView&) = delete;

  std::vector<WeftBuffers> parts;
  std::vector<void*> handles;  ///< of `comms`
  std::vector<Device*> devices;
  std::vector<Stream*> comms;  ///< by rank, those that it runs on
  Scratch memory;
  std::weak_ptr<void> owner;  ///< functions that were enqueued on host streams keep it
};

WeftDtype dtype_of(DType dtype);

}  // namespace fabric::plugin
