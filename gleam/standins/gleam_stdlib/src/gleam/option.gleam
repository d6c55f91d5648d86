//// Values that may be missing.

pub type Option(a) {
  Some(a)
  None
}
