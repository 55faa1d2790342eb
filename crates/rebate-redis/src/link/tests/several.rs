//! Clusters and sentinels.
