package ses

// Hurry has the lister wait no more between two pages.
func (l *Lister) Hurry() { l.pause = 0 }
