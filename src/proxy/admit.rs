//! The in-flight cap. The permit lives in the answer's body: a stream holds its place until it ends or is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::error::ProxyError;
use super::forward::{Answer, LocalFuture, Outbound};

/// Calls in flight, of all workers together.
#[derive(Debug, Default)]
pub struct Admission {
    inflight: AtomicUsize,
}

impl Admission {
    /// Calls in flight now.
    pub fn inflight(&self) -> usize {
        self.inflight.load(Ordering::Relaxed)
    }

    fn enter(self: &Arc<Self>, max: usize) -> Option<Permit> {
        let before = self.inflight.fetch_add(1, Ordering::Relaxed);
        // Made first: its drop takes the count back where there is no place.
        let permit = Permit(Arc::clone(self));
        (before < max).then_some(permit)
    }
}

/// A call's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<Admission>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.inflight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Admits calls up to `proxy.inflight`.
#[derive(Clone, Debug)]
pub(super) struct AdmitLayer(pub Arc<Admission>);

/// See [`AdmitLayer`].
#[derive(Clone, Debug)]
pub(super) struct Admit<S> {
    admission: Arc<Admission>,
    inner: S,
}

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Admit<S> {
        Admit { admission: Arc::clone(&self.0), inner }
    }
}

impl<S> Service<Outbound> for Admit<S>
where
    S: Service<Outbound, Response = Answer, Error = ProxyError, Future = LocalFuture<Result<Answer, ProxyError>>>,
{
    type Response = Answer;
    type Error = ProxyError;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut outbound: Outbound) -> Self::Future {
        outbound.permit = self.admission.enter(outbound.snapshot.inflight_max);
        if outbound.permit.is_none() {
            return Box::pin(std::future::ready(Err(ProxyError::Overloaded)));
        }
        self.inner.call(outbound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let admission = Arc::new(Admission::default());
        let first = admission.enter(2);
        let second = admission.enter(2);
        assert!(first.is_some() && second.is_some());
        assert!(admission.enter(2).is_none());
        drop(first);
        assert!(admission.enter(2).is_some());
        drop(second);
        assert_eq!(admission.inflight(), 0);
    }
}
