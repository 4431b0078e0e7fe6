// The plugin interface compiled as C++: sizes and offsets as in C (abi_layout.c).
#include <gtest/gtest.h>

#include <cstddef>

#include "fabric/plugin_abi.h"

extern "C" int weft_abi_layout_is_checked_in_c;

#define WEFT_FIELD(type, field, offset) \
  static_assert(offsetof(type, field) == (offset), #type "." #field " moved");
#define WEFT_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type " changed its size");
#include "plugin/abi_layout.def"

namespace fabric {
namespace {

TEST(PluginAbi, TheHeaderIsTheSameInCAndInCpp) { EXPECT_EQ(weft_abi_layout_is_checked_in_c, 1); }

}  // namespace
}  // namespace fabric
