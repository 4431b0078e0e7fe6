"""Holds traces of `weft inspect --perfetto` against Perfetto's own schema: its Python package brings the protobuf
classes (no trace_processor, which it would download). Run by hand, in any environment that has the package:

    npm run readers && PYTHONPATH=.weft/perfetto python3 scripts/check/perfetto-trace.py out.pftrace …
"""
import sys
from collections import Counter

from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema

Event = schema.TrackEvent


def unknown(message):
    """Names of messages with fields that the schema does not have."""
    if len(UnknownFieldSet(message)):
        yield message.DESCRIPTOR.full_name
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for each in value if hasattr(value, "append") else [value]:
                yield from unknown(each)


def check(path):
    trace = schema.Trace()
    with open(path, "rb") as file:
        trace.ParseFromString(file.read())
    faults, counts, tracks = Counter(unknown(trace)), Counter(), {}
    depth, latest, totals, flows, ends = Counter(), {}, {}, Counter(), Counter()
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            tracks[packet.track_descriptor.uuid] = packet.track_descriptor
            continue
        event = packet.track_event
        track = event.track_uuid
        counts[Event.Type.Name(event.type)] += 1
        counts["notes"] += sum(note.name == "tag" for note in event.debug_annotations)
        if packet.trusted_packet_sequence_id == 0:
            faults["a packet without a sequence"] += 1
        if track not in tracks:
            faults["an event on a track that is described later or never"] += 1
        if packet.timestamp < latest.get(track, 0):
            faults["time goes back on a track"] += 1
        latest[track] = packet.timestamp
        if event.type == Event.TYPE_SLICE_BEGIN:
            depth[track] += 1
        if event.type == Event.TYPE_SLICE_END:
            depth[track] -= 1
            if depth[track] < 0:
                faults["a slice ends that did not begin"] += 1
        if event.type in (Event.TYPE_SLICE_BEGIN, Event.TYPE_INSTANT) and not event.name:
            faults["a slice without a name"] += 1
        if event.type == Event.TYPE_COUNTER:
            if not tracks[track].HasField("counter"):
                faults["a counter value on a track of slices"] += 1
            if event.counter_value < totals.get(track, 0):
                faults["bytes copied shrink"] += 1
            totals[track] = event.counter_value
        flows.update(event.flow_ids)
        ends.update(event.terminating_flow_ids)
    faults["slices that do not end"] = sum(depth.values())
    faults["flows that lead nowhere or come from nowhere"] = sum(((flows - ends) + (ends - flows)).values())
    wrong = {fault: count for fault, count in faults.items() if count}
    names = [track.name for track in tracks.values()]
    print(f"{path}: {len(trace.packet)} packets, {len(names)} tracks ({', '.join(names)}), {dict(counts)}, {sum(flows.values())} flows")
    print(f"{path}: {wrong or 'ok'}")
    return not wrong


if __name__ == "__main__":
    sys.exit(0 if all([check(path) for path in sys.argv[1:]]) else 1)
