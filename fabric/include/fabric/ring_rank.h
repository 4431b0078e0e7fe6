// What ring orders (fabric.h, ring_order) go by. The layer above sets it before a group is made:
// runs that must repeat bit by bit may not sum in an order that a measurement decided.
#pragma once

namespace fabric {

/// Whether measured rates of links have a say in ring orders; on at start. Off, the order, and with
/// it that of sums, is the same in every process on machines with the same links. Holds for lists of
/// devices that no group has used yet.
void rank_rings_by_measure(bool on);

}  // namespace fabric
