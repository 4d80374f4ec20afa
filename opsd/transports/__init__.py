"""How a loop run is reached: runtime files become observations. What an observation means is `opsd.core`."""
