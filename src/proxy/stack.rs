//! THE stack: every layer that a call goes through, in the order in which it does.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tower::{Service, ServiceBuilder};

use super::admit::AdmitLayer;
use super::body::AnswerBody;
use super::client::ClientConn;
use super::forward::{LocalFuture, forward};
use super::identify::IdentifyLayer;
use super::record::RecordLayer;
use super::worker::Worker;

/// The stack of one client connection.
pub(super) fn stack(
    worker: &Rc<Worker>,
    conn: &Rc<ClientConn>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<AnswerBody>,
    Error = Infallible,
    Future = LocalFuture<Result<Response<AnswerBody>, Infallible>>,
> + Clone
+ use<> {
    let leaf = Rc::clone(worker);
    ServiceBuilder::new()
        // What is it, and may it pass? First, since what is refused below is recorded by what it is.
        .layer(IdentifyLayer { worker: Rc::clone(worker), conn: Rc::clone(conn) })
        // Around all that can fail, so that a prediction is recorded whatever becomes of it.
        .layer(RecordLayer(Rc::clone(worker)))
        // Inside the record, so that an overload is recorded too.
        .layer(AdmitLayer(Arc::clone(&worker.shared.admission)))
        // To the model server.
        .service(tower::service_fn(move |outbound| Box::pin(forward(Rc::clone(&leaf), outbound)) as LocalFuture<_>))
}
