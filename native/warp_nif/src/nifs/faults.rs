//! Faults on request, in a library built for tests.

use rustler::{Atom, Term};

use crate::atoms;

/// Arms a fault; `undefined` in a library built without them.
#[rustler::nif]
fn fault(kind: Term<'_>) -> Atom {
    #[cfg(feature = "fault")]
    {
        use crate::fault::{Fault, set};
        let fault = match kind.decode::<(Atom, u64)>() {
            Ok((name, times)) if name == atoms::panic() => Fault::Panic(times),
            Ok((name, times)) if name == atoms::fsync_fails() => Fault::FsyncFails(times),
            Ok((name, n)) if name == atoms::fail_at() => Fault::FailAt(n),
            Ok((name, millis)) if name == atoms::stall() => Fault::Stall(millis),
            Ok((name, millis)) if name == atoms::slow_open() => Fault::SlowOpen(millis),
            Ok((name, n)) if name == atoms::abort_after() => Fault::AbortAfter(n),
            Ok((name, n)) if name == atoms::rows_at_once() => Fault::RowsAtOnce(n),
            _ => Fault::Off,
        };
        set(&fault);
        atoms::ok()
    }
    #[cfg(not(feature = "fault"))]
    {
        let _ = kind;
        atoms::undefined()
    }
}
