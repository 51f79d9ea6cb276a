//! The device agent: onboarding, attestation, configuration, applications, reports. Pure.

#![no_std]
#![forbid(unsafe_code)]
