// See topology/nvml.h. Constants are NVML's own numbers (NVML API reference, "Device enums").
#include "topology/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "fabric/machine.h"

namespace fabric {
namespace {

constexpr int kOk = 0;
constexpr unsigned kEnabled = 1;
constexpr unsigned kMostLinks = 36;
constexpr unsigned kRemoteSwitch = 2, kRemoteUnknown = 0xff;
constexpr unsigned kCapabilityNvlink = 2;       // NVML_P2P_CAPS_INDEX_NVLINK
constexpr unsigned kFieldSpeedOfLink = 164;     // NVML_FI_DEV_NVLINK_GET_SPEED, MB/s
constexpr unsigned kFieldSpeedOfAllLinks = 90;  // NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON
constexpr unsigned kTypeUnsigned = 1;

// GB/s of one PCIe lane in one direction after its line code, by generation.
constexpr double kLaneGbps[] = {0, 0.25, 0.5, 0.985, 1.969, 3.938, 7.563};

template <typename F>
bool find(void* library, const char* name, F* out) {
  *out = reinterpret_cast<F>(dlsym(library, name));
  return *out != nullptr;
}

// Where the paths of two GPUs to memory meet: nvmlGpuTopologyLevel_t.
const char* meeting_point(unsigned level) {
  switch (level) {
    case 0:
      return "one board";
    case 10:
      return "PCIe switch";
    case 20:
      return "PCIe switches";
    case 30:
      return "host bridge";
    case 40:
      return "NUMA node";
    case 50:
      return "processors' link";
    default:
      return "";
  }
}

}  // namespace

const Nvml& Nvml::get() {
  static const auto* instance = [] {
    const char* named = std::getenv("WEFT_NVML");
    return new Nvml(named != nullptr && *named != '\0' ? named : "libnvidia-ml.so.1");
  }();
  return *instance;
}

Nvml::Nvml(const std::string& library) {
  void* opened = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) {
    const char* why = dlerror();
    detail_ = why != nullptr ? why : library + " does not load";
    return;
  }
  find(opened, "nvmlErrorString", &api_.error_text);
  find(opened, "nvmlSystemGetDriverVersion", &api_.driver_version);
  find(opened, "nvmlDeviceGetNvLinkState", &api_.link_state);
  find(opened, "nvmlDeviceGetNvLinkRemotePciInfo_v2", &api_.remote_pci);
  find(opened, "nvmlDeviceGetNvLinkRemoteDeviceType", &api_.remote_type);
  find(opened, "nvmlDeviceGetP2PStatus", &api_.p2p_status);
  find(opened, "nvmlDeviceGetTopologyCommonAncestor", &api_.common_ancestor);
  find(opened, "nvmlDeviceGetFieldValues", &api_.field_values);
  find(opened, "nvmlDeviceGetMaxPcieLinkGeneration", &api_.pcie_generation);
  find(opened, "nvmlDeviceGetMaxPcieLinkWidth", &api_.pcie_width);
  if (!find(opened, "nvmlInit_v2", &api_.init) ||
      !find(opened, "nvmlDeviceGetHandleByPciBusId_v2", &api_.handle_by_pci)) {
    detail_ = library + " lacks functions that every NVML since 2012 has";
    return;
  }
  if (const int status = api_.init(); status != kOk) {
    const char* text = api_.error_text != nullptr ? api_.error_text(status) : nullptr;
    detail_ = library + ": " + (text != nullptr ? text : "error " + std::to_string(status));
    return;
  }
  found_ = true;
  detail_ = library;
}

std::string Nvml::driver_version() const {
  char text[96] = {};
  if (!found_ || api_.driver_version == nullptr) return {};
  return api_.driver_version(text, sizeof text - 1) == kOk ? text : std::string();
}

double Nvml::link_gbps(NvmlApi::Handle device, unsigned link) const {
  if (api_.field_values == nullptr) return 0;
  for (unsigned field : {kFieldSpeedOfLink, kFieldSpeedOfAllLinks}) {
    NvmlApi::FieldValue value{};
    value.field = field;
    value.scope = field == kFieldSpeedOfLink ? link : 0;
    if (api_.field_values(device, 1, &value) != kOk || value.status != kOk) continue;
    const double mbps = value.value_type == kTypeUnsigned ? value.value.whole
                        : value.value_type == 0           ? value.value.real
                                                          : static_cast<double>(value.value.wide);
    if (mbps > 0) return mbps / 1e3;
  }
  return 0;
}

Nvml::Links Nvml::count_links(NvmlApi::Handle from, NvmlApi::Handle to) const {
  Links links;
  if (api_.link_state == nullptr) return links;
  // The peer's address is compared as NVML itself spells it; only its own links tell it.
  for (unsigned link = 0; link < kMostLinks; ++link) {
    unsigned enabled = 0, type = kRemoteUnknown;
    if (api_.link_state(from, link, &enabled) != kOk || enabled != kEnabled) continue;
    if (api_.remote_type != nullptr && api_.remote_type(from, link, &type) != kOk) {
      type = kRemoteUnknown;
    }
    NvmlApi::PciInfo remote{};
    NvmlApi::Handle there = nullptr;
    if (type != kRemoteSwitch && api_.remote_pci != nullptr &&
        api_.remote_pci(from, link, &remote) == kOk) {
      remote.bus_id[sizeof remote.bus_id - 1] = '\0';
      if (api_.handle_by_pci(remote.bus_id, &there) != kOk) there = nullptr;
    }
    if (there == to) {
      ++links.to_peer;
    } else if (type == kRemoteSwitch || (type == kRemoteUnknown && there == nullptr)) {
      ++links.to_switch;  // a switch that a virtual machine hides looks like nothing
    } else {
      continue;  // another GPU
    }
    if (links.gbps == 0) links.gbps = link_gbps(from, link);
  }
  return links;
}

LinkInfo Nvml::pcie(NvmlApi::Handle from, NvmlApi::Handle to) const {
  LinkInfo info;
  info.kind = "pcie";
  unsigned level = 0;
  if (api_.common_ancestor != nullptr && api_.common_ancestor(from, to, &level) == kOk) {
    info.through = meeting_point(level);
  }
  unsigned generation = ~0u, width = ~0u;
  for (NvmlApi::Handle device : {from, to}) {
    unsigned g = 0, w = 0;
    if (api_.pcie_generation == nullptr || api_.pcie_width == nullptr ||
        api_.pcie_generation(device, &g) != kOk || api_.pcie_width(device, &w) != kOk) {
      return info;
    }
    generation = std::min(generation, g);
    width = std::min(width, w);
  }
  info.lanes = static_cast<int>(width);
  if (generation < std::size(kLaneGbps)) info.nominal_gbps = kLaneGbps[generation] * width;
  return info;
}

std::optional<LinkInfo> Nvml::link(const std::string& from_pci, const std::string& to_pci) const {
  NvmlApi::Handle from = nullptr, to = nullptr;
  if (!found_ || api_.handle_by_pci(from_pci.c_str(), &from) != kOk ||
      api_.handle_by_pci(to_pci.c_str(), &to) != kOk) {
    return std::nullopt;
  }
  unsigned status = 1;
  const bool nvlink = api_.p2p_status != nullptr &&
                      api_.p2p_status(from, to, kCapabilityNvlink, &status) == kOk && status == 0;
  const Links out = count_links(from, to);
  if (!nvlink && out.to_peer == 0) return pcie(from, to);
  LinkInfo info;
  info.kind = "nvlink";
  info.lanes = out.to_peer;
  if (out.to_peer == 0) {
    // All links of a GPU meet in the switches; the end with fewer of them is the limit.
    info.lanes = std::min(out.to_switch, count_links(to, from).to_switch);
    if (info.lanes > 0) info.through = "NVSwitch";
  }
  info.nominal_gbps = info.lanes * out.gbps;
  return info;
}

NvmlReport nvml_report() {
  const Nvml& nvml = Nvml::get();
  return {nvml.found(), nvml.driver_version(), nvml.detail()};
}

}  // namespace fabric
