// What a plugin's schema may say, and what is refused with a sentence that tells why.
#include "plugin/schema.h"

#include <gtest/gtest.h>

#include "core/tensor.h"

namespace {

using weft::plugin::check_schema;

std::string refusal(const std::string& schema) {
  try {
    check_schema(schema);
  } catch (const weft::Error& error) {
    EXPECT_EQ(error.code(), weft::ErrorCode::kPlugin) << schema;
    return error.message();
  }
  return "";
}

TEST(PluginSchema, EveryArgumentThatTheInterfaceCarriesIsTaken) {
  EXPECT_EQ(check_schema("ns::op(Tensor a, Tensor? b, Tensor[] c, float d = -1.5e-3, int n = 2, "
                         "bool flag = true) -> 4"),
            "ns::op");
  EXPECT_EQ(check_schema("ns::op_(Tensor! a, int[] dims, float x) -> 0"), "ns::op_");
  EXPECT_EQ(check_schema("n::o(Tensor[] all) -> 1"), "n::o");
}

TEST(PluginSchema, WhatTheInterfaceCannotCarryIsRefusedWithASentence) {
  const std::pair<const char*, const char*> cases[] = {
      {"ns::op(Tensor a, dtype to) -> 1", "'dtype to': a dtype cannot be passed"},
      {"ns::op(Tensor a, device to) -> 1", "an operator runs where its tensors lie"},
      {"ns::op(Tensor a, str mode) -> 1", "text cannot be passed: give an int"},
      {"ns::op(Tensor a, float[] w) -> 1", "a list of numbers is int[]"},
      {"ns::op(Tensor a, int? n) -> 1", "only a Tensor may be absent"},
      {"ns::op(Tensor a, Tensor?[] b) -> 1", "a list of tensors is read, and has no gaps"},
      {"ns::op(Tensor![] a) -> 0", "a list of tensors is read, and has no gaps"},
      {"ns::op(Tensor(a) x) -> 1", "a view of an argument cannot be returned"},
      {"ns::op(Tensor(a!) x) -> 1", "a view of an argument cannot be returned"},
      {"ns::op(Tensor a) -> Tensor(a)", "'-> Tensor(a)': results are new tensors"},
      {"ns::op(Tensor a) -> *", "the schema counts them, 1 to 4"},
      {"ns::op(Tensor a) -> 5", "the schema counts them, 1 to 4"},
      {"ns::op(Tensor a, Tensor! b) -> 0", "only the first argument may be Tensor!"},
      {"ns::op(Tensor! a) -> 1", "with Tensor! there are 0 results"},
      {"ns::op(Tensor a) -> 0", "with Tensor! there are 0 results"},
      {"ns::op(Tensor? a, int n) -> 1", "it needs a Tensor or Tensor[]"},
      {"ns::op(Tensor a, Tensor[] b = 1) -> 1", "only float, int and bool may have a default"},
      {"ns::op(Tensor a, float x = 1, int n) -> 1", "after a default all arguments have one"},
      {"ns::op(Tensor a, int n = 1.5) -> 1", "n is int, its default is not"},
      {"ns::op(Tensor a, Matrix b) -> 1", "'Matrix b' is no argument"},
      {"op(Tensor a) -> 1", "it must read like"},
      {"ns::op(Tensor a) => 1", "it must read like"},
  };
  for (const auto& [schema, why] : cases) {
    const std::string said = refusal(schema);
    EXPECT_NE(said.find(why), std::string::npos) << schema << ": " << said;
    EXPECT_NE(said.find(schema), std::string::npos) << said;
  }
}

}  // namespace
