//! The gateway from end to end, over real sockets, before the upstream that it brings: its own modules in this process, so
//! that the store's clock can be moved, and its program as a process.

#[path = "../../examples/token_gateway/answers.rs"]
mod answers;
#[path = "../../examples/token_gateway/asked.rs"]
mod asked;
#[path = "../common/built.rs"]
mod built;
mod client;
mod denials;
#[path = "../../examples/token_gateway/gateway.rs"]
mod gateway;
mod late;
mod load;
mod program;
#[path = "../../examples/token_gateway/relay.rs"]
mod relay;
mod settling;
#[path = "../../examples/token_gateway/upstream.rs"]
mod upstream;
mod world;
