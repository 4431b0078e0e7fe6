// See fabric/numa.h.
#include "fabric/numa.h"

#include <cctype>
#include <fstream>

namespace fabric {

int numa_node(const std::string& pci, const std::string& sysfs) {
  const size_t colon = pci.find(':');
  if (colon == std::string::npos || pci.find('/') != std::string::npos) return -1;
  // sysfs writes domains with four digits and letters small.
  std::string address = pci;
  if (colon > 4) address = pci.substr(colon - 4);
  for (char& letter : address) letter = static_cast<char>(std::tolower(letter));
  std::ifstream file(sysfs + "/bus/pci/devices/" + address + "/numa_node");
  int node = -1;
  if (!(file >> node) || node < 0) return -1;
  return node;
}

}  // namespace fabric
