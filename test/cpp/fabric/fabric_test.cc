// The table of devices, error names, poison and shutdown. What ends the fabric runs in a process of
// its own.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "fake_driver.h"
#include "test_device.h"

namespace fabric {
namespace {

using test::Gate;

ErrorCode code_of(const std::string& name, int virtual_count = 0) {
  try {
    open_device(name, virtual_count);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kNone;
}

TEST(Fabric, OpensADeviceOnceAndKeepsItsPlace) {
  Device& device = open_device("host:50");
  EXPECT_EQ(&open_device("host:50"), &device);
  EXPECT_EQ(find_device("host:50"), &device);
  EXPECT_EQ(&device_at(device.index()), &device);
  EXPECT_EQ(devices().at(device.index()), &device);
  EXPECT_EQ(device.name(), "host:50");
  EXPECT_EQ(device.virtual_index(), -1);
  EXPECT_EQ(find_device("host:51"), nullptr);
  EXPECT_THROW(device_at(0xfffe), Error);
}

TEST(Fabric, VirtualDevicesAreDevicesOfTheirOwn) {
  Device& first = open_device("host:52/0", 2);
  Device& second = open_device("host:52/1", 2);
  EXPECT_NE(&first, &second);
  EXPECT_EQ(second.name(), "host:52/1");
  EXPECT_EQ(second.virtual_index(), 1);
  EXPECT_EQ(first.ordinal(), second.ordinal());
  EXPECT_EQ(code_of("host:52/2", 2), ErrorCode::kDevice);
  EXPECT_EQ(code_of("host:53/0"), ErrorCode::kDevice);
}

TEST(Fabric, UnknownNamesAreErrorsThatTellWhatExists) {
  for (const char* name : {"", "host", "host:", "host:64", "host:-1", "host:1x", "host:01", "gpu:0",
                           "host:1/", "host:1/x", "host:99999999999", ":1"}) {
    EXPECT_EQ(code_of(name, 4), ErrorCode::kDevice) << name;
  }
  try {
    open_device("host:77");
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("host:0 to host:63"), std::string::npos) << error.message();
  }
}

TEST(Fabric, ThreadsThatOpenTheSameDeviceGetOne) {
  std::vector<Device*> found(8);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < found.size(); ++t) {
    threads.emplace_back([&found, t] {
      found[t] = &open_device("host:54");
      found[t]->compute();
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(std::set<Device*>(found.begin(), found.end()).size(), 1u);
}

TEST(Fabric, ASecondDriverOfAKindIsRefused) {
  Driver* before = find_driver(DriverKind::kHost);
  EXPECT_THROW(register_driver(std::make_unique<test::FakeDriver>(DriverKind::kHost)), Error);
  EXPECT_EQ(find_driver(DriverKind::kHost), before);
}

TEST(Errors, HaveStableCodesAndClasses) {
  EXPECT_STREQ(error_code_name(ErrorCode::kShape), "WEFT_SHAPE");
  EXPECT_STREQ(error_class_name(ErrorCode::kCollectiveTimeout), "CollectiveTimeoutError");
  try {
    fail(ErrorCode::kDtype, "%s has %d", std::string(3000, 'x').c_str(), 7);
  } catch (const Error& error) {
    EXPECT_EQ(error.message().size(), 3006u);
    EXPECT_EQ(error.message().substr(3000), " has 7");
    EXPECT_EQ(error.fields_json(), "");
  }
}

class Ending : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

[[noreturn]] void leave(bool good) { std::exit(good ? 0 : 1); }

TEST_F(Ending, ShutdownFinishesQueuedWorkStopsThreadsAndRefusesMore) {
  EXPECT_EXIT(
      {
        Device& device = open_device("host:0");
        Device& other = open_device("host:1");
        int64_t value = 0;
        for (int i = 0; i < 1000; ++i) {
          host::enqueue(device.compute().handle(), [&value] { ++value; });
          order_after(other.comm(), device.compute());
        }
        shutdown();
        shutdown();  // once more does nothing
        bool refused = false;
        try {
          host::enqueue(device.compute().handle(), [] {});
        } catch (const Error& error) {
          refused = error.code() == ErrorCode::kUsage;
        }
        leave(value == 1000 && refused && code_of("host:9") == ErrorCode::kUsage);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(Ending, ExitWithoutShutdownNeitherHangsNorCrashes) {
  EXPECT_EXIT(
      {
        Device& device = open_device("host:0");
        static std::vector<int> sink(1 << 16);
        event_log::set_mode(LogMode::kBasic);
        for (int i = 0; i < 200; ++i) {
          device.allocator().free(device.allocator().allocate(4096, device.compute()));
          host::enqueue(device.compute().handle(), [] {
            host::parallel_for(1 << 16, 1 << 10, [](int64_t begin, int64_t end) {});
          });
        }
        leave(true);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(Ending, AKernelThatThrowsPoisonsTheFabric) {
  EXPECT_EXIT(
      {
        Device& device = open_device("host:0");
        bool after = false;
        host::enqueue(device.compute().handle(), [] { throw std::runtime_error("bad kernel"); });
        host::enqueue(device.compute().handle(), [&after] { after = true; });
        ErrorCode code = ErrorCode::kNone;
        std::string message;
        try {
          device.synchronize();
        } catch (const Error& error) {
          code = error.code();
          message = error.message();
        }
        leave(code == ErrorCode::kPoisoned && poisoned() && after &&
              message.find("bad kernel") != std::string::npos &&
              code_of("host:1") == ErrorCode::kPoisoned);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace fabric
