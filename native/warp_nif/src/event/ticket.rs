//! Appends to several entities of which a later one may only be stored if those before it are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustler::Resource;

/// What such appends share. It is void as soon as one of them was not stored, and from then on the
/// writer takes none of them.
#[derive(Default)]
pub struct Ticket {
    is_void: AtomicBool,
}

impl Ticket {
    /// Whether an append with this ticket was not stored.
    pub fn is_void(&self) -> bool {
        self.is_void.load(Ordering::Acquire)
    }

    /// An append with this ticket is not stored.
    pub fn make_void(&self) {
        self.is_void.store(true, Ordering::Release);
    }
}

/// Where Erlang has a ticket.
#[derive(Default)]
pub struct TicketHandle(pub Arc<Ticket>);

#[rustler::resource_impl]
impl Resource for TicketHandle {}

/// The ticket of one append on its way to the journal. However that way ends, be it by a panic: unless
/// the append was stored, the ticket is void afterwards.
pub struct Tied {
    ticket: Arc<Ticket>,
    is_stored: bool,
}

impl Tied {
    /// For an append that is about to be queued.
    pub fn new(ticket: Arc<Ticket>) -> Self {
        Self {
            ticket,
            is_stored: false,
        }
    }

    /// The ticket.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The append is durable.
    pub fn stored(&mut self) {
        self.is_stored = true;
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        if !self.is_stored {
            self.ticket.make_void();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_void_once_an_append_with_it_is_gone_and_was_not_stored() {
        let ticket = Arc::new(Ticket::default());
        let mut first = Tied::new(Arc::clone(&ticket));
        let second = Tied::new(Arc::clone(&ticket));
        first.stored();
        drop(first);
        assert!(!second.ticket().is_void());
        drop(second);
        assert!(ticket.is_void());
        // Nothing makes it good again.
        Tied::new(Arc::clone(&ticket)).stored();
        assert!(ticket.is_void());
    }
}
