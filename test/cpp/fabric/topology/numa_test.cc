// The NUMA node of a PCI address, read from a tree like that of sysfs.
#include "fabric/numa.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace fabric {
namespace {

TEST(Numa, AddressesAsDriversWriteThemAreFoundAndOthersHaveNoNode) {
  const std::filesystem::path root = testing::TempDir() + "weft-numa";
  const auto put = [&](const char* address, const char* text) {
    const auto folder = root / "bus/pci/devices" / address;
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "numa_node") << text;
  };
  put("0000:3b:00.0", "1\n");
  put("0000:9a:00.0", "-1\n");
  put("0000:c1:00.0", "none\n");
  const std::string sysfs = root.string();
  EXPECT_EQ(numa_node("00000000:3B:00.0", sysfs), 1);
  EXPECT_EQ(numa_node("0000:3b:00.0", sysfs), 1);
  for (const char* untold : {"0000:9a:00.0", "0000:c1:00.0", "0000:ff:00.0", "", "../x:y"}) {
    EXPECT_EQ(numa_node(untold, sysfs), -1) << untold;
  }
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace fabric
