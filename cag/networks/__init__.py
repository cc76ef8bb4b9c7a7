"""Networks: the Inception-v3 trunk, and the frame selector, classifier and detector that read its maps."""
