// Whether this process computes the same bits whatever it measured. snapshot.cc tells it; gemm.cc
// answers it.
#pragma once

namespace weft::binding {

/// No GPU is open, whose products could be chosen by measurement, or none is chosen so.
bool deterministic();

}  // namespace weft::binding
