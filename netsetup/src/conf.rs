//! Networks as CNI writes them down: network configuration lists, read into
//! types that drivers can use as they are, with every subnet checked.
