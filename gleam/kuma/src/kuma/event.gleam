//// Events that were read from an entity's log.

/// An event of yours, with its seq and the time at which it was recorded.
///
pub type Event(event) {
  Event(
    /// The seq of the event. Seq 1 is the spawning, so the first event has 2.
    seq: Int,
    /// When the event was recorded, in microseconds since 1970, UTC.
    recorded_at: Int,
    /// The event that was appended.
    event: event,
  )
}
