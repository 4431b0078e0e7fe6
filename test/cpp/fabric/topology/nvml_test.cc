// What NVML tells about links is read rightly, and its absence is an answer, not an error. The
// library is test/cpp/fixtures/fake_nvml.cc.
#include "topology/nvml.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "fabric/machine.h"

namespace fabric {
namespace {

std::string pci(int gpu) {
  char text[32];
  std::snprintf(text, sizeof text, "00000000:%02x:00.0", 0x1a + gpu);
  return text;
}

LinkInfo between(int from, int to) {
  static const Nvml nvml(FAKE_NVML);
  auto info = nvml.link(pci(from), pci(to));
  EXPECT_TRUE(info.has_value());
  return info.value_or(LinkInfo{});
}

TEST(Nvml, ThroughSwitchesTheEndWithFewerLinksCounts) {
  for (auto [from, to] : {std::pair(0, 1), std::pair(1, 0)}) {
    const LinkInfo link = between(from, to);
    EXPECT_EQ(link.kind, "nvlink");
    EXPECT_EQ(link.lanes, 17);
    EXPECT_NEAR(link.nominal_gbps, 17 * 26.562, 1e-9);
    EXPECT_EQ(link.through, "NVSwitch");
  }
}

TEST(Nvml, DirectLinksAreCountedByWhereTheyLead) {
  const LinkInfo link = between(2, 3);
  EXPECT_EQ(link.kind, "nvlink");
  EXPECT_EQ(link.lanes, 4);
  EXPECT_DOUBLE_EQ(link.nominal_gbps, 100);
  EXPECT_EQ(link.through, "");
}

TEST(Nvml, LinksThatTheOtherEndHidesStillAreNvlink) {
  const LinkInfo link = between(5, 4);
  EXPECT_EQ(link.kind, "nvlink");
  EXPECT_EQ(link.lanes, 0);
  EXPECT_EQ(link.nominal_gbps, 0);
}

TEST(Nvml, PairsWithoutNvlinkAreJoinedByPcie) {
  LinkInfo link = between(1, 2);
  EXPECT_EQ(link.kind, "pcie");
  EXPECT_EQ(link.lanes, 16);
  EXPECT_NEAR(link.nominal_gbps, 63.0, 0.05);
  EXPECT_EQ(link.through, "host bridge");
  link = between(0, 4);  // the slower end counts
  EXPECT_EQ(link.lanes, 8);
  EXPECT_NEAR(link.nominal_gbps, 15.75, 0.01);
}

TEST(Nvml, AGpuThatItDoesNotKnowHasNoAnswer) {
  const Nvml nvml(FAKE_NVML);
  EXPECT_FALSE(nvml.link(pci(0), pci(40)).has_value());
}

TEST(Nvml, AMissingLibraryIsReportedWithItsName) {
  const Nvml nvml("libweft-no-such-library.so.1");
  EXPECT_FALSE(nvml.found());
  EXPECT_NE(nvml.detail().find("libweft-no-such-library.so.1"), std::string::npos);
  EXPECT_EQ(nvml.driver_version(), "");
  EXPECT_FALSE(nvml.link(pci(0), pci(1)).has_value());
}

TEST(Nvml, ALibraryOfSomethingElseIsReported) {
  const Nvml nvml("libm.so.6");
  EXPECT_FALSE(nvml.found());
  EXPECT_NE(nvml.detail().find("lacks functions"), std::string::npos);
}

TEST(Nvml, ADriverThatDoesNotAnswerIsReportedInNvmlsWords) {
  ::setenv("FAKE_NVML_BROKEN", "1", 1);
  const Nvml nvml(FAKE_NVML);
  ::unsetenv("FAKE_NVML_BROKEN");
  EXPECT_FALSE(nvml.found());
  EXPECT_NE(nvml.detail().find("broken for a test"), std::string::npos);
}

TEST(Nvml, TheEnvironmentNamesTheLibrary) {
  ::setenv("WEFT_NVML", FAKE_NVML, 1);
  const NvmlReport report = nvml_report();
  EXPECT_TRUE(report.found);
  EXPECT_EQ(report.driver_version, "580.12.34");
  EXPECT_EQ(report.detail, FAKE_NVML);
}

}  // namespace
}  // namespace fabric
