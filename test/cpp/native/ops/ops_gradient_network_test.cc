// Gradient formulas of the network operators against finite differences. Those that keep f32
// statistics (norms, cross entropy, attention) are compared with wider steps and tolerances.
#include <limits>

#include "gradient_check.h"

namespace weft::test {
namespace {

constexpr double kDefaultScale = std::numeric_limits<double>::quiet_NaN();

/// All visible results.
std::vector<Tensor> results(Op op, std::initializer_list<OpArg> args) {
  OpCall c(op);
  for (const OpArg& arg : args) {
    if (arg.kind == OpArg::kT) c.add_tensor(arg.tensor);
    if (arg.kind == OpArg::kN) c.add_number(arg.number);
  }
  dispatch(c);
  return {c.outputs.begin(), c.outputs.begin() + visible_outputs(op)};
}

TEST(OpsGradientNetwork, Linear) {
  for (bool gelu : {false, true}) {
    for (const Dims& x_shape : {Dims{3, 4}, Dims{4}, Dims{2, 3, 4}}) {
      check_gradient("linear " + to_string(x_shape), {x_shape, {5, 4}, {5}},
                     [=](const Tensors& x) { return call(Op::linear, {x[0], x[1], x[2], gelu}); });
      check_gradient(
          "linear without bias " + to_string(x_shape), {x_shape, {5, 4}},
          [=](const Tensors& x) { return call(Op::linear, {x[0], x[1], Tensor(), gelu}); });
    }
  }
}

TEST(OpsGradientNetwork, LinearWithoutInputsIsItsBias) {
  check_gradient("linear of nothing", {{5}}, [](const Tensors& x) {
    Tensor empty_x = make({2, 0}, DType::kF64, [](int64_t) { return 0; });
    Tensor empty_weight = make({5, 0}, DType::kF64, [](int64_t) { return 0; });
    return call(Op::linear, {empty_x, empty_weight, x[0], true});
  });
}

TEST(OpsGradientNetwork, Softmax) {
  for (Op op : {Op::softmax, Op::log_softmax}) {
    for (int dim : {-1, 0, 1}) {
      check_gradient(op_name(op), {{3, 4, 2}},
                     [=](const Tensors& x) { return call(op, {x[0], dim}); },
                     {.step = 1e-5, .tolerance = 1e-5});
    }
  }
}

TEST(OpsGradientNetwork, CrossEntropy) {
  const CheckOptions wide{.step = 1e-2, .tolerance = 2e-3};
  Tensor target = make({2, 3}, DType::kI64, [](int64_t i) { return i == 4 ? -100 : i % 5; });
  Tensor narrow_target = make({4}, DType::kI32, [](int64_t i) { return i; });
  for (int reduction : {0, 1, 2}) {
    for (double smoothing : {0.0, 0.1}) {
      check_gradient(
          "cross_entropy (.., C)", {{2, 3, 5}},
          [=](const Tensors& x) {
            return call(Op::cross_entropy, {x[0], target, -100, reduction, smoothing});
          },
          wide);
      check_gradient(
          "cross_entropy (N, C), i32 target", {{4, 4}},
          [=](const Tensors& x) {
            return call(Op::cross_entropy, {x[0], narrow_target, -100, reduction, smoothing});
          },
          wide);
    }
  }
}

TEST(OpsGradientNetwork, LinearCrossEntropy) {
  const CheckOptions wide{.step = 1e-2, .tolerance = 2e-3};
  Tensor target = make({2, 3}, DType::kI64, [](int64_t i) { return i == 4 ? -100 : i % 5; });
  for (int reduction : {0, 1, 2}) {
    for (int chunk : {0, 1, 4}) {
      for (double smoothing : {0.0, 0.1}) {
        SCOPED_TRACE("reduction " + std::to_string(reduction) + ", chunk " + std::to_string(chunk));
        check_gradient(
            "linear_cross_entropy", {{2, 3, 4}, {5, 4}, {5}},
            [=](const Tensors& x) {
              return call(Op::linear_cross_entropy,
                          {x[0], x[1], target, x[2], -100, reduction, smoothing, chunk});
            },
            wide);
        check_gradient(
            "linear_cross_entropy without bias", {{2, 3, 4}, {5, 4}},
            [=](const Tensors& x) {
              return call(Op::linear_cross_entropy,
                          {x[0], x[1], target, Tensor(), -100, reduction, smoothing, chunk});
            },
            wide);
      }
    }
  }
}

TEST(OpsGradientNetwork, Norms) {
  const CheckOptions wide{.step = 1e-3, .tolerance = 1e-3};
  check_gradient(
      "layer_norm", {{3, 6}, {6}, {6}},
      [](const Tensors& x) { return call(Op::layer_norm, {x[0], x[1], x[2], 1e-5}); }, wide);
  check_gradient(
      "layer_norm of 3-d, no bias", {{2, 2, 6}, {6}},
      [](const Tensors& x) { return call(Op::layer_norm, {x[0], x[1], Tensor(), 1e-5}); }, wide);
  check_gradient(
      "layer_norm, x alone", {{3, 6}},
      [](const Tensors& x) { return call(Op::layer_norm, {x[0], Tensor(), Tensor(), 1e-5}); },
      wide);
  check_gradient(
      "rms_norm", {{3, 6}, {6}},
      [](const Tensors& x) { return call(Op::rms_norm, {x[0], x[1], 1e-5}); }, wide);
  check_gradient(
      "rms_norm, x alone", {{3, 6}},
      [](const Tensors& x) { return call(Op::rms_norm, {x[0], Tensor(), 1e-5}); }, wide);
}

TEST(OpsGradientNetwork, NormsOfSums) {
  const CheckOptions wide{.step = 1e-3, .tolerance = 1e-3};
  // Both results are used, so that the gradient of the sum joins that of the norm; then each alone.
  for (double of_sum : {0.0, 0.7}) {
    for (double of_norm : {0.0, 1.3}) {
      auto both = [=](Op op, std::initializer_list<OpArg> args) {
        const std::vector<Tensor> out = results(op, args);
        if (of_sum == 0) return call(Op::mul_scalar, {out[0], of_norm});
        if (of_norm == 0) return call(Op::mul_scalar, {out[1], of_sum});
        return call(Op::add, {call(Op::mul_scalar, {out[0], of_norm}),
                              call(Op::mul_scalar, {out[1], of_sum})});
      };
      if (of_sum == 0 && of_norm == 0) continue;
      check_gradient(
          "add_layer_norm, used " + std::to_string(of_sum) + " and " + std::to_string(of_norm),
          {{3, 6}, {3, 6}, {6}, {6}},
          [=](const Tensors& x) {
            Tensor unused =
                call(Op::add, {x[2], x[3]});  // leaves get a gradient when the norm is not used
            Tensor out = both(Op::add_layer_norm, {x[0], x[1], x[2], x[3], 1e-5});
            return call(Op::add, {out, call(Op::mul_scalar, {unused, 0.1})});
          },
          wide);
      check_gradient(
          "add_rms_norm", {{2, 2, 6}, {2, 2, 6}},
          [=](const Tensors& x) { return both(Op::add_rms_norm, {x[0], x[1], Tensor(), 1e-5}); },
          wide);
    }
  }
}

TEST(OpsGradientNetwork, Embedding) {
  Tensor indices = make({2, 3}, DType::kI64, [](int64_t i) { return i % 3; });
  check_gradient("embedding", {{4, 3}},
                 [&](const Tensors& x) { return call(Op::embedding, {x[0], indices}); });
}

TEST(OpsGradientNetwork, DropoutPassesWhatItKept) {
  Tensor x = make({64, 8}, DType::kF64, [](int64_t) { return 1; });
  set_requires_grad(x, true);
  Tensor y = call(Op::dropout, {x, 0.25});
  Tensor loss = call(Op::sum, {y, Dims{}, false}), none;
  backward({&loss, 1}, {&none, 1});
  std::vector<double> kept = values(y), grad = values(x->autograd->grad);
  int zeros = 0;
  for (size_t i = 0; i < kept.size(); ++i) {
    EXPECT_NEAR(grad[i], kept[i], 1e-12);
    zeros += kept[i] == 0;
  }
  EXPECT_GT(zeros, 512 / 8);
  EXPECT_LT(zeros, 512 / 2);
}

TEST(OpsGradientNetwork, Attention) {
  const CheckOptions wide{.step = 1e-4, .tolerance = 1e-4};
  for (bool causal : {false, true}) {
    for (double scale : {kDefaultScale, 0.7}) {
      check_gradient(
          "attention", {{2, 2, 3, 4}, {2, 2, 5, 4}, {2, 2, 5, 4}},
          [=](const Tensors& x) { return call(Op::attention, {x[0], x[1], x[2], causal, scale}); },
          wide);
    }
  }
}

TEST(OpsGradientNetwork, HeadsAreSplitAndJoinedAroundAttention) {
  const CheckOptions wide{.step = 1e-4, .tolerance = 1e-4};
  check_gradient(
      "attention of one projection", {{2, 3, 12}},
      [](const Tensors& x) {
        Tensors heads;
        for (int part = 0; part < 3; ++part) {
          Tensor one = call(Op::narrow, {x[0], -1, part * 4, 4});
          heads.push_back(call(Op::transpose, {call(Op::reshape, {one, Dims{2, 3, 2, 2}}), 1, 2}));
        }
        Tensor out = call(Op::attention, {heads[0], heads[1], heads[2], true, kDefaultScale});
        Tensor joined = call(Op::transpose, {out, 1, 2});
        EXPECT_TRUE(joined.is_contiguous());  // so that the reshape copies nothing
        return call(Op::reshape, {joined, Dims{2, 3, 4}});
      },
      wide);
}

TEST(OpsGradientNetwork, PackedAttention) {
  const CheckOptions wide{.step = 1e-4, .tolerance = 1e-4};
  for (bool causal : {false, true}) {
    check_gradient(
        "attention_packed", {{2, 5, 3, 2, 4}},
        [=](const Tensors& x) { return call(Op::attention_packed, {x[0], causal, kDefaultScale}); },
        wide);
  }
  check_gradient(
      "attention_packed of a permuted tensor", {{2, 3, 4, 2, 5}},
      [](const Tensors& x) {
        return call(Op::attention_packed,
                    {call(Op::permute, {x[0], Dims{0, 4, 1, 3, 2}}), true, kDefaultScale});
      },
      wide);
}

TEST(OpsGradientNetwork, PackedAttentionIsAttentionOfItsParts) {
  Tensor x = make({2, 5, 3, 2, 4}, DType::kF32, [](int64_t i) { return std::sin(0.7 * i); });
  Tensors parts;
  for (int i = 0; i < 3; ++i)
    parts.push_back(call(Op::transpose, {call(Op::select, {x, 2, i}), 1, 2}));
  Tensor one = call(Op::attention_packed, {x, true, 0.5});
  Tensor three = call(Op::attention, {parts[0], parts[1], parts[2], true, 0.5});
  EXPECT_EQ(values(one), values(call(Op::contiguous, {call(Op::transpose, {three, 1, 2})})));
}

TEST(OpsGradientNetwork, Rotary) {
  Tensor cos = make({4, 2}, DType::kF32, [](int64_t i) { return std::cos(0.3 * i); });
  Tensor sin = make({4, 2}, DType::kF32, [](int64_t i) { return std::sin(0.3 * i); });
  for (int groups : {0, 2, 3}) {
    check_gradient("rotary", {{2, 3, 3, 2, 4}},
                   [=](const Tensors& x) { return call(Op::rotary, {x[0], cos, sin, groups}); });
  }
  // Position 2 of group 0 by hand; group 2 stays.
  Tensor x = make({1, 3, 3, 1, 4}, DType::kF64, [](int64_t i) { return i + 1; });
  const std::vector<double> in = values(x), out = values(call(Op::rotary, {x, cos, sin, 2}));
  const double c = std::cos(1.2), s = std::sin(1.2);
  EXPECT_NEAR(out[24], in[24] * c + in[26] * s, 1e-5);
  EXPECT_NEAR(out[26], in[26] * c - in[24] * s, 1e-5);
  for (size_t i = 32; i < 36; ++i) EXPECT_EQ(out[i], in[i]);
}

}  // namespace
}  // namespace weft::test
