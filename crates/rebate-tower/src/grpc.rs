//! gRPC statuses that come with the trailers, after the body.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::charged::{BoxFuture, Charged};

/// Lets a [`RateLimitLayer`](crate::RateLimitLayer) give back by gRPC statuses that end a stream.
///
/// A call that fails before it sends anything says so in its headers: the rate limiting layer sees that by itself. One that
/// fails later says so in its trailers. Laid inside the rate limiting layer this one watches for them, and the trailers
/// are sent when the refund is done; the response's headers have gone by then, and do not tell of it.
///
/// ```
/// use rebate_tower::GrpcTrailersLayer;
/// use tower::ServiceBuilder;
/// # use rebate_tower::{GrpcStatus, RateLimitLayer};
/// # fn example<S: rebate_core::Store>(rate_limit: RateLimitLayer<S, GrpcStatus>) {
///
/// let layers = ServiceBuilder::new().layer(rate_limit).layer(GrpcTrailersLayer);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcTrailersLayer;

impl<C> Layer<C> for GrpcTrailersLayer {
    type Service = GrpcTrailers<C>;

    fn layer(&self, inner: C) -> GrpcTrailers<C> {
        GrpcTrailers { inner }
    }
}

/// A service whose trailers are watched. Made by a [`GrpcTrailersLayer`].
#[derive(Clone, Debug)]
pub struct GrpcTrailers<C> {
    inner: C,
}

impl<C, B, D> Service<Request<B>> for GrpcTrailers<C>
where
    C: Service<Request<B>, Response = Response<D>>,
{
    type Response = Response<GrpcTrailersBody<D>>;
    type Error = C::Error;
    type Future = GrpcTrailersFuture<C::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let charged = Charged::of(request.extensions());
        GrpcTrailersFuture { inner: self.inner.call(request), charged: Some(charged) }
    }
}

pin_project! {
    /// The future of a [`GrpcTrailers`] service.
    #[derive(Debug)]
    pub struct GrpcTrailersFuture<F> {
        #[pin]
        inner: F,
        charged: Option<Charged>,
    }
}

impl<F, D, E> Future for GrpcTrailersFuture<F>
where
    F: Future<Output = Result<Response<D>, E>>,
{
    type Output = Result<Response<GrpcTrailersBody<D>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(context))?;
        let charged = this.charged.take().unwrap_or_default();
        Poll::Ready(Ok(response.map(|inner| GrpcTrailersBody { inner, charged, refund: None, trailers: None })))
    }
}

pin_project! {
    /// A body whose trailers are watched.
    #[derive(Default)]
    pub struct GrpcTrailersBody<D> {
        #[pin]
        inner: D,
        charged: Charged,
        // Under way, with the trailers that wait for it.
        refund: Option<BoxFuture<()>>,
        trailers: Option<HeaderMap>,
    }
}

impl<D: Body> Body for GrpcTrailersBody<D> {
    type Data = D::Data;
    type Error = D::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<D::Data>, D::Error>>> {
        let this = self.project();
        if this.trailers.is_none() {
            let frame = match ready!(this.inner.poll_frame(context)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            let trailers = match frame.into_trailers() {
                Ok(trailers) => trailers,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            };
            *this.refund = status(&trailers).and_then(|status| std::mem::take(this.charged).refund_by_trailers(status));
            *this.trailers = Some(trailers);
        }
        if let Some(refund) = this.refund {
            ready!(refund.as_mut().poll(context));
            *this.refund = None;
        }
        Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<D: std::fmt::Debug> std::fmt::Debug for GrpcTrailersBody<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcTrailersBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// The gRPC status that headers or trailers tell.
pub(crate) fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
