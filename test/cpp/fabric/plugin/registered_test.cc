// Algorithms that the process itself registers through the structs of the C ABI, without a library.
#include <gtest/gtest.h>

#include <atomic>

#include "fabric/plugin.h"
#include "group/collective_run.h"

namespace fabric {
namespace {

class Registered : public test::CleanFabric {
 protected:
  static void barrier(Group& group) {
    std::vector<CollectiveArgs> parts(2);
    for (auto& part : parts) part.kind = CollectiveKind::kBarrier;
    for (auto& work : group.submit_all(parts)) EXPECT_TRUE(work->synchronize(10'000));
  }
};

TEST_F(Registered, AStructOfTheProcessItselfIsRegisteredWithoutALibrary) {
  WeftAlgorithm algorithm = {};
  algorithm.size = sizeof algorithm;
  algorithm.name = "nothing";
  algorithm.supports = [](void*, const WeftCall* call) -> int32_t {
    return call->kind == WEFT_BARRIER;
  };
  static std::atomic<int> launches;
  launches = 0;
  algorithm.open = [](void*, const WeftGroup*, void**) -> WeftStatus { return WEFT_OK; };
  algorithm.launch = [](void*, void*, const WeftCall* call, void*) -> WeftStatus {
    ++launches;
    return call->ranks == 2 ? WEFT_OK : WEFT_ERROR_ARGUMENT;
  };
  register_algorithm(algorithm);
  force_algorithm("nothing");
  barrier(*Group::create(test::host_devices(2)));
  EXPECT_EQ(launches, 1);
  EXPECT_TRUE(unregister_algorithm("nothing"));
}

TEST_F(Registered, AGroupsMultiprocessorsAreTheMostThatItsKernelsAreToldToFill) {
  static std::atomic<uint32_t> told{0};
  WeftAlgorithm algorithm = {};
  algorithm.size = sizeof algorithm;
  algorithm.name = "asks";
  algorithm.supports = [](void*, const WeftCall* call) -> int32_t {
    return call->kind == WEFT_BARRIER;
  };
  algorithm.open = [](void*, const WeftGroup* group, void**) -> WeftStatus {
    told = group->members[1]->multiprocessors;
    return WEFT_OK;
  };
  algorithm.launch = [](void*, void*, const WeftCall*, void*) -> WeftStatus { return WEFT_OK; };
  register_algorithm(algorithm);
  force_algorithm("asks");
  const auto devices = test::host_devices(2);
  const auto all = static_cast<uint32_t>(devices[1]->properties().multiprocessors);
  const auto told_to = [&](int limit) {
    barrier(*Group::create(devices, "", limit));
    return told.load();
  };
  EXPECT_EQ(told_to(0), all);
  EXPECT_EQ(told_to(1), 1u);
  EXPECT_EQ(told_to(1000), all);
  EXPECT_THROW(Group::create(devices, "", -1), Error);
  EXPECT_TRUE(unregister_algorithm("asks"));
}

}  // namespace
}  // namespace fabric
