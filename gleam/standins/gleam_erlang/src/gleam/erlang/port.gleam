//// Ports, which take the place of processes where the VM talks to what is outside of it.

pub type Port
