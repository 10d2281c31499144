"""What tests share: real servers, a virtual clock, processes to start and conditions to wait for."""
