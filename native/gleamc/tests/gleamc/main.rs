//! gleamc as a user runs it, with real projects, files and Erlang VMs.

#[cfg(test)]
mod builds;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod workshop;
