"""`glip serve`: one loaded model behind HTTP.

run       the address, the model, uvicorn; start and stop
app       the routes
guard     who may ask, and how much they may send
request   a body -> what is asked
queue     what is asked -> detections: a bounded queue, batches, one thread for the model
labelstudio, labelstudio_images
          Label Studio's protocol, asked of the same queue; labelling configurations; the images of tasks
options   the options, with their limits
"""
