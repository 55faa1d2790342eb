//! What rules ask about a request, answered.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use rebate_rules::Subject;

use crate::layer::Settings;
use crate::request::RequestHead;

/// A request as the settings let it be seen.
pub(crate) struct Asker<'a> {
    pub(crate) request: RequestHead<'a>,
    pub(crate) settings: &'a Settings,
}

impl Subject for Asker<'_> {
    fn user(&self) -> Option<Cow<'_, [u8]>> {
        self.settings.user.as_ref()?(self.request)
    }

    fn address(&self) -> Option<IpAddr> {
        self.settings.client.of((self.settings.socket)(self.request), self.request.headers)
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut values = self.request.headers.get_all(name).iter();
        let first = values.next()?.as_bytes();
        let mut all = Cow::Borrowed(first);
        for value in values {
            let all = all.to_mut();
            all.extend_from_slice(b", ");
            all.extend_from_slice(value.as_bytes());
        }
        Some(all)
    }

    fn function(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let (_, function) = self.settings.functions.iter().find(|(given, _)| **given == *name)?;
        function(self.request)
    }
}

/// The address at the other end of the socket, as servers note it.
pub(crate) fn socket_address(request: RequestHead<'_>) -> Option<IpAddr> {
    #[cfg(feature = "axum")]
    {
        use axum::extract::ConnectInfo;
        use axum::extract::connect_info::MockConnectInfo;
        if let Some(ConnectInfo(address)) = request.extensions.get::<ConnectInfo<SocketAddr>>() {
            return Some(address.ip());
        }
        if let Some(MockConnectInfo(address)) = request.extensions.get::<MockConnectInfo<SocketAddr>>() {
            return Some(address.ip());
        }
    }
    request.extensions.get::<SocketAddr>().map(SocketAddr::ip)
}

/// The path that the client asked for, as far as it is known here: a router nested in another gets it without its prefix.
#[inline]
pub(crate) fn target_path(request: RequestHead<'_>) -> &str {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = request.extensions.get() {
        return uri.path();
    }
    request.uri.path()
}
