// What NVIDIA software a machine has, also where no GPU is and in builds without device code.
// `weft doctor` and `weft devices` show it.
#pragma once

#include <string>

namespace fabric {

/// NVML, the library behind nvidia-smi: it tells the kinds and numbers of links between GPUs.
struct NvmlReport {
  bool found = false;
  std::string driver_version{};  ///< "580.95.05"; empty when not found
  std::string detail{};          ///< the library that answered, or why none did
};
/// Loads NVML on the first call: the library that WEFT_NVML names, else libnvidia-ml.so.1.
NvmlReport nvml_report();

}  // namespace fabric
