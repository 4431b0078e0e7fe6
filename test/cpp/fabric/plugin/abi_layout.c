// The plugin interface as C11 sees it: that this compiles, without warnings, is the test.
#include <fabric/plugin_abi.h>

#define WEFT_FIELD(type, field, offset) \
  _Static_assert(offsetof(type, field) == (offset), #type "." #field " moved");
#define WEFT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " changed its size");
#include "abi_layout.def"

int weft_abi_layout_is_checked_in_c = 1;
