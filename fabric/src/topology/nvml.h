// NVML, opened at run time: what it tells about links between GPUs. The cuda driver asks for links,
// fabric/machine.h for the report. Plain dlopen and hand-written prototypes of NVML's stable ABI,
// so it is part of every build and loads on machines without NVIDIA software.
#pragma once

#include <optional>
#include <string>

#include "fabric/driver.h"

namespace fabric {

/// The functions of NVML that are used; one that an old library lacks stays nullptr.
struct NvmlApi {
  using Handle = void*;
  struct PciInfo {  // nvmlPciInfo_t
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
  };
  struct FieldValue {  // nvmlFieldValue_t
    unsigned field, scope;
    long long timestamp, latency_us;
    unsigned value_type, status;
    union {
      double real;
      unsigned whole;
      unsigned long long wide;
    } value;
  };
  int (*init)() = nullptr;
  const char* (*error_text)(int) = nullptr;
  int (*driver_version)(char*, unsigned) = nullptr;
  int (*handle_by_pci)(const char*, Handle*) = nullptr;
  int (*link_state)(Handle, unsigned link, unsigned* enabled) = nullptr;
  int (*remote_pci)(Handle, unsigned link, PciInfo*) = nullptr;
  int (*remote_type)(Handle, unsigned link, unsigned*) = nullptr;
  int (*p2p_status)(Handle, Handle, unsigned capability, unsigned* status) = nullptr;
  int (*common_ancestor)(Handle, Handle, unsigned* level) = nullptr;
  int (*field_values)(Handle, int count, FieldValue*) = nullptr;
  int (*pcie_generation)(Handle, unsigned*) = nullptr;
  int (*pcie_width)(Handle, unsigned*) = nullptr;
};

class Nvml {
 public:
  /// The process's: what WEFT_NVML names, else libnvidia-ml.so.1. Never unloaded.
  static const Nvml& get();
  explicit Nvml(const std::string& library);

  bool found() const { return found_; }
  const std::string& detail() const { return detail_; }  ///< the library, or why it is not there
  std::string driver_version() const;
  /// How the GPUs with these PCI ids ("00000000:1b:00.0") are joined; nothing when NVML is missing
  /// or does not know one of them. Never throws.
  std::optional<LinkInfo> link(const std::string& from_pci, const std::string& to_pci) const;

 private:
  /// Active NVLinks of one GPU, by where they lead.
  struct Links {
    int to_peer = 0;
    int to_switch = 0;
    double gbps = 0;  ///< of one link
  };
  Links count_links(NvmlApi::Handle from, NvmlApi::Handle to) const;
  double link_gbps(NvmlApi::Handle device, unsigned link) const;
  LinkInfo pcie(NvmlApi::Handle from, NvmlApi::Handle to) const;

  NvmlApi api_;
  bool found_ = false;
  std::string detail_;
};

}  // namespace fabric
