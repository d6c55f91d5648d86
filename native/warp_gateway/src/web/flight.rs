//! A request's part in what is in flight, given back when it is dropped.

use super::problem::{OVERLOADED, Problem, TOO_MANY_REQUESTS};
use crate::gateway::Gateway;
use crate::tokens::Token;
use std::sync::Arc;

/// What a request has taken.
pub struct Flight {
    /// Where it is counted.
    gateway: Arc<Gateway>,
    /// The token, where it is counted too.
    token: Option<Arc<Token>>,
    /// How many bytes it has.
    bytes: usize,
}

impl Flight {
    /// Takes a request's part, or says what there is too much of.
    pub fn begin(gateway: &Arc<Gateway>, token: Option<&Arc<Token>>) -> Result<Self, Problem> {
        if token.is_some_and(|token| !token.in_flight.try_take(1)) {
            return Err(
                TOO_MANY_REQUESTS.because("Too many requests are in flight with this token.")
            );
        }
        // From here on dropping gives the token's part back.
        let flight = Flight {
            gateway: Arc::clone(gateway),
            token: token.cloned(),
            bytes: 0,
        };
        if gateway.in_flight.try_take(1) {
            Ok(flight)
        } else {
            // What was not taken must not be given back.
            gateway.in_flight.take(1);
            Err(OVERLOADED.because("Too many requests are in flight."))
        }
    }

    /// Takes bytes of the body.
    pub fn take(&mut self, bytes: usize) -> Result<(), Problem> {
        if self.gateway.bytes.try_take(bytes) {
            self.bytes += bytes;
            Ok(())
        } else {
            Err(OVERLOADED.because("Too many bytes of requests are in flight."))
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.gateway.bytes.give(self.bytes);
        self.gateway.in_flight.give(1);
        if let Some(token) = &self.token {
            token.in_flight.give(1);
        }
    }
}
