import visionattn, numpy as np, torch
from PIL import Image
im=Image.fromarray(np.random.RandomState(0).randint(0,255,(40,50,3),np.uint8)); im.save("a.png")
for s in ("run","run/checkpoints/last.ckpt","st","tm"):
    m=visionattn.load(s); print(m)
    r=m.predict("a.png"); print(r.labels[:2], r.scores[:2], r.size, m.predict([im,torch.rand(3,20,20)]))
print(r.to_json()[:100]); r.draw()
print(m.predict(["a.png"]).save("out"))
for bad in ("nope","swin_tinny"):
    try: visionattn.load(bad)
    except Exception as e: print(type(e).__name__, e)
for x in (3, torch.rand(2,3,3,3)*5, np.zeros((3,4)), torch.zeros(3,4), []):
    try: print(m.predict(x))
    except Exception as e: print(type(e).__name__, e)
print(dir(visionattn))
