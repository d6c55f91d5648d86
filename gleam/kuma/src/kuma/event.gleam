//// What comes out of an entity's log.

/// An event as it is stored: yours, and where and when it was recorded.
///
pub type Event(event) {
  Event(
    /// Its place in the log. 1 is the spawning, so the first event has 2.
    seq: Int,
    /// When it was recorded, in microseconds since 1970, UTC.
    recorded_at: Int,
    /// What was appended.
    event: event,
  )
}
