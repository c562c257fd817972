"""Who may take part in a federation: certificates, invitations, keys, approval, revocation."""
